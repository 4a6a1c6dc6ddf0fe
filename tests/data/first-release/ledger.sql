BEGIN TRANSACTION;
CREATE TABLE claim (
	store VARCHAR(300) NOT NULL, 
	archive VARCHAR(40) NOT NULL, 
	release VARCHAR(8) NOT NULL, 
	profile VARCHAR(80) NOT NULL, 
	frame VARCHAR(40) NOT NULL, 
	batch VARCHAR(80) NOT NULL, 
	PRIMARY KEY (store, archive, release, profile, frame)
);
INSERT INTO "claim" VALUES('file:///srv/kira/stage','sample','dr7','kira-01765de9','dr7-40-009001-3-0011-g','dr7-009001-6cf2dd36040e');
INSERT INTO "claim" VALUES('file:///srv/kira/stage','sample','dr7','kira-01765de9','dr7-40-009001-3-0011-i','dr7-009001-6cf2dd36040e');
INSERT INTO "claim" VALUES('file:///srv/kira/stage','sample','dr7','kira-01765de9','dr7-40-009001-3-0011-r','dr7-009001-6cf2dd36040e');
INSERT INTO "claim" VALUES('file:///srv/kira/stage','sample','dr7','kira-01765de9','dr7-40-009001-3-0011-u','dr7-009001-6cf2dd36040e');
CREATE TABLE outcome (
	batch VARCHAR(80) NOT NULL, 
	frame VARCHAR(40) NOT NULL, 
	stage VARCHAR(12) NOT NULL, 
	dag_run VARCHAR(250) NOT NULL, 
	archive VARCHAR(40) NOT NULL, 
	release VARCHAR(8) NOT NULL, 
	band VARCHAR(1) NOT NULL, 
	profile VARCHAR(80) NOT NULL, 
	outcome VARCHAR(24) NOT NULL, 
	reason VARCHAR(2000) NOT NULL, 
	attempts INTEGER NOT NULL, 
	again BOOLEAN NOT NULL, 
	size INTEGER, 
	sha256 VARCHAR(64), 
	sources INTEGER, 
	seconds DOUBLE, 
	checks INTEGER NOT NULL, 
	failed_checks INTEGER NOT NULL, 
	at DATETIME NOT NULL, 
	PRIMARY KEY (batch, frame, stage, dag_run)
);
INSERT INTO "outcome" VALUES('dr7-009001-6cf2dd36040e','dr7-40-009001-3-0011-g','plan','manual__2026-11-22T09:00:00+00:00','sample','dr7','g','kira-01765de9','ok','',1,0,NULL,NULL,NULL,NULL,0,0,'2026-11-23 05:37:56.561934');
INSERT INTO "outcome" VALUES('dr7-009001-6cf2dd36040e','dr7-40-009001-3-0011-i','plan','manual__2026-11-22T09:00:00+00:00','sample','dr7','i','kira-01765de9','ok','',1,0,NULL,NULL,NULL,NULL,0,0,'2026-11-23 05:37:56.561957');
INSERT INTO "outcome" VALUES('dr7-009001-6cf2dd36040e','dr7-40-009001-3-0011-r','plan','manual__2026-11-22T09:00:00+00:00','sample','dr7','r','kira-01765de9','ok','',1,0,NULL,NULL,NULL,NULL,0,0,'2026-11-23 05:37:56.561969');
INSERT INTO "outcome" VALUES('dr7-009001-6cf2dd36040e','dr7-40-009001-3-0011-u','plan','manual__2026-11-22T09:00:00+00:00','sample','dr7','u','kira-01765de9','ok','',1,0,NULL,NULL,NULL,NULL,0,0,'2026-11-23 05:37:56.561979');
INSERT INTO "outcome" VALUES('dr7-009001-6cf2dd36040e','dr7-40-009001-3-0011-z','plan','manual__2026-11-22T09:00:00+00:00','sample','dr7','z','kira-01765de9','ok','',1,0,NULL,NULL,NULL,NULL,0,0,'2026-11-23 05:37:56.561990');
INSERT INTO "outcome" VALUES('plan-manual-2026-11-22T09-00-00-00-00-5e35a1da','dr7-40-009001-3-0099-g','plan','manual__2026-11-22T09:00:00+00:00','sample','dr7','g','kira-01765de9','not_in_archive','dr7-40-009001-3-0099-g was asked for, but is not listed in http://archive.invalid/sample/das/imaging/9001/40/corr/3',1,0,NULL,NULL,NULL,NULL,0,0,'2026-11-23 05:37:56.619647');
INSERT INTO "outcome" VALUES('plan-manual-2026-11-22T09-00-00-00-00-5e35a1da','dr7-40-009001-3-0099-i','plan','manual__2026-11-22T09:00:00+00:00','sample','dr7','i','kira-01765de9','not_in_archive','dr7-40-009001-3-0099-i was asked for, but is not listed in http://archive.invalid/sample/das/imaging/9001/40/corr/3',1,0,NULL,NULL,NULL,NULL,0,0,'2026-11-23 05:37:56.619677');
INSERT INTO "outcome" VALUES('plan-manual-2026-11-22T09-00-00-00-00-5e35a1da','dr7-40-009001-3-0099-r','plan','manual__2026-11-22T09:00:00+00:00','sample','dr7','r','kira-01765de9','not_in_archive','dr7-40-009001-3-0099-r was asked for, but is not listed in http://archive.invalid/sample/das/imaging/9001/40/corr/3',1,0,NULL,NULL,NULL,NULL,0,0,'2026-11-23 05:37:56.619696');
INSERT INTO "outcome" VALUES('plan-manual-2026-11-22T09-00-00-00-00-5e35a1da','dr7-40-009001-3-0099-u','plan','manual__2026-11-22T09:00:00+00:00','sample','dr7','u','kira-01765de9','not_in_archive','dr7-40-009001-3-0099-u was asked for, but is not listed in http://archive.invalid/sample/das/imaging/9001/40/corr/3',1,0,NULL,NULL,NULL,NULL,0,0,'2026-11-23 05:37:56.619711');
INSERT INTO "outcome" VALUES('plan-manual-2026-11-22T09-00-00-00-00-5e35a1da','dr7-40-009001-3-0099-z','plan','manual__2026-11-22T09:00:00+00:00','sample','dr7','z','kira-01765de9','not_in_archive','dr7-40-009001-3-0099-z was asked for, but is not listed in http://archive.invalid/sample/das/imaging/9001/40/corr/3',1,0,NULL,NULL,NULL,NULL,0,0,'2026-11-23 05:37:56.619726');
INSERT INTO "outcome" VALUES('dr7-009001-6cf2dd36040e','dr7-40-009001-3-0011-g','mirror','manual__2026-11-22T09:00:00+00:00','sample','dr7','g','kira-01765de9','ok','',1,0,2282366,'dc9395b5e0622f123d63b07ff75668e52cc81a791ce27bdf2dd975b5ef057e70',NULL,9.09056913995300419628e-01,3,0,'2026-11-23 05:37:57.844769');
INSERT INTO "outcome" VALUES('dr7-009001-6cf2dd36040e','dr7-40-009001-3-0011-i','mirror','manual__2026-11-22T09:00:00+00:00','sample','dr7','i','kira-01765de9','ok','',1,0,2526686,'e27d54015e118adb14db1ae3c669a6a18967f4e6147dddfe0856d87a12ea2786',NULL,1.10984238299715798348e+00,3,0,'2026-11-23 05:37:57.844783');
INSERT INTO "outcome" VALUES('dr7-009001-6cf2dd36040e','dr7-40-009001-3-0011-r','mirror','manual__2026-11-22T09:00:00+00:00','sample','dr7','r','kira-01765de9','ok','',1,0,2366068,'ab00459606c09b107f4001b2244119c1d844ade581332e1b6d1c4824c1c580c3',NULL,0.865032154993969,3,0,'2026-11-23 05:37:59.071867');
INSERT INTO "outcome" VALUES('dr7-009001-6cf2dd36040e','dr7-40-009001-3-0011-z','mirror','manual__2026-11-22T09:00:00+00:00','sample','dr7','z','kira-01765de9','corrupt_upstream','fpC-009001-z3-0011.fit.gz: truncated: the gzip data stop after 100,000 bytes, before their end. (fetched twice from http://archive.invalid/sample/das/imaging/9001/40/corr/3/fpC-009001-z3-0011.fit.gz, SHA-256 3e32f3434f61bc1a280be4a4e62b5052bc3cd412630b7fc3c566ca4797cbb7bb)',1,0,NULL,NULL,NULL,0.0542220720089972,1,1,'2026-11-23 05:37:59.071885');
INSERT INTO "outcome" VALUES('dr7-009001-6cf2dd36040e','dr7-40-009001-3-0011-u','mirror','manual__2026-11-22T09:00:00+00:00','sample','dr7','u','kira-01765de9','ok','',1,0,2391881,'ccce879ac800ac20b655053daeb930f676da815acd9950eb180470e41eafaed6',NULL,1.21231730999716091901e+00,3,0,'2026-11-23 05:37:59.071891');
INSERT INTO "outcome" VALUES('dr7-009001-6cf2dd36040e','dr7-40-009001-3-0011-i','stage','manual__2026-11-22T09:00:00+00:00','sample','dr7','i','kira-01765de9','ok','',1,0,6108480,'4f32da069354d5937cced8046a4e783dc597909459b132f66afa4105e8873b9d',NULL,0.466322107007727,2,0,'2026-11-23 05:38:00.047928');
INSERT INTO "outcome" VALUES('dr7-009001-6cf2dd36040e','dr7-40-009001-3-0011-g','stage','manual__2026-11-22T09:00:00+00:00','sample','dr7','g','kira-01765de9','ok','',1,0,6108480,'a377f3a5cc855d1a5135eb18467c132524b7e57763b90617513d01ee060cc85c',NULL,5.35401258006459102034e-01,2,0,'2026-11-23 05:38:00.047946');
INSERT INTO "outcome" VALUES('dr7-009001-6cf2dd36040e','dr7-40-009001-3-0011-r','stage','manual__2026-11-22T09:00:00+00:00','sample','dr7','r','kira-01765de9','ok','',1,0,6108480,'4ebe662bf87836d7d38f23780560425775421942fed741537e8d07ceaeb50f0c',NULL,1.81583287994726561009e-01,2,0,'2026-11-23 05:38:00.047953');
INSERT INTO "outcome" VALUES('dr7-009001-6cf2dd36040e','dr7-40-009001-3-0011-u','stage','manual__2026-11-22T09:00:00+00:00','sample','dr7','u','kira-01765de9','ok','',1,0,6108480,'829113a5c53adf3ae1063c56a8017df9c073253ff4d01c79a06d77bdd009cb30',NULL,1.52482928009703755378e-01,2,0,'2026-11-23 05:38:00.047958');
INSERT INTO "outcome" VALUES('dr7-009001-6cf2dd36040e','dr7-40-009001-3-0011-g','extract','manual__2026-11-22T09:00:00+00:00','sample','dr7','g','kira-01765de9','ok','',1,0,6108480,NULL,70,2.04457637399900704622e+00,1,0,'2026-11-23 05:38:03.212529');
INSERT INTO "outcome" VALUES('dr7-009001-6cf2dd36040e','dr7-40-009001-3-0011-i','extract','manual__2026-11-22T09:00:00+00:00','sample','dr7','i','kira-01765de9','ok','',1,0,6108480,NULL,93,4.43230153992772102355e-01,1,0,'2026-11-23 05:38:03.212555');
INSERT INTO "outcome" VALUES('dr7-009001-6cf2dd36040e','dr7-40-009001-3-0011-r','extract','manual__2026-11-22T09:00:00+00:00','sample','dr7','r','kira-01765de9','ok','',1,0,6108480,NULL,93,2.38417019994813017547e-01,1,0,'2026-11-23 05:38:03.212561');
INSERT INTO "outcome" VALUES('dr7-009001-6cf2dd36040e','dr7-40-009001-3-0011-u','extract','manual__2026-11-22T09:00:00+00:00','sample','dr7','u','kira-01765de9','ok','',1,0,6108480,NULL,15,2.80405965997488237917e-01,1,0,'2026-11-23 05:38:03.212567');
INSERT INTO "outcome" VALUES('dr7-009001-6cf2dd36040e','dr7-40-009001-3-0011-g','validate','manual__2026-11-22T09:00:00+00:00','sample','dr7','g','kira-01765de9','ok','',1,0,NULL,NULL,70,NULL,10,0,'2026-11-23 05:38:03.391374');
INSERT INTO "outcome" VALUES('dr7-009001-6cf2dd36040e','dr7-40-009001-3-0011-i','validate','manual__2026-11-22T09:00:00+00:00','sample','dr7','i','kira-01765de9','ok','',1,0,NULL,NULL,93,NULL,10,0,'2026-11-23 05:38:03.391408');
INSERT INTO "outcome" VALUES('dr7-009001-6cf2dd36040e','dr7-40-009001-3-0011-r','validate','manual__2026-11-22T09:00:00+00:00','sample','dr7','r','kira-01765de9','ok','',1,0,NULL,NULL,93,NULL,10,0,'2026-11-23 05:38:03.391425');
INSERT INTO "outcome" VALUES('dr7-009001-6cf2dd36040e','dr7-40-009001-3-0011-u','validate','manual__2026-11-22T09:00:00+00:00','sample','dr7','u','kira-01765de9','ok','',1,0,NULL,NULL,15,NULL,10,0,'2026-11-23 05:38:03.391466');
INSERT INTO "outcome" VALUES('dr7-009001-6cf2dd36040e','dr7-40-009001-3-0011-g','publish','manual__2026-11-22T09:00:00+00:00','sample','dr7','g','kira-01765de9','ok','',1,0,NULL,NULL,70,NULL,0,0,'2026-11-23 05:38:03.457623');
INSERT INTO "outcome" VALUES('dr7-009001-6cf2dd36040e','dr7-40-009001-3-0011-i','publish','manual__2026-11-22T09:00:00+00:00','sample','dr7','i','kira-01765de9','ok','',1,0,NULL,NULL,93,NULL,0,0,'2026-11-23 05:38:03.457664');
INSERT INTO "outcome" VALUES('dr7-009001-6cf2dd36040e','dr7-40-009001-3-0011-r','publish','manual__2026-11-22T09:00:00+00:00','sample','dr7','r','kira-01765de9','ok','',1,0,NULL,NULL,93,NULL,0,0,'2026-11-23 05:38:03.457687');
INSERT INTO "outcome" VALUES('dr7-009001-6cf2dd36040e','dr7-40-009001-3-0011-u','publish','manual__2026-11-22T09:00:00+00:00','sample','dr7','u','kira-01765de9','ok','',1,0,NULL,NULL,15,NULL,0,0,'2026-11-23 05:38:03.457706');
INSERT INTO "outcome" VALUES('dr7-009001-6c8526b683a3','dr7-40-009001-3-0012-r','plan','manual__2026-11-22T10:00:00+00:00','sample','dr7','r','kira-01765de9','ok','',1,0,NULL,NULL,NULL,NULL,0,0,'2026-11-23 05:38:03.556236');
CREATE TABLE stage_attempt (
	id INTEGER NOT NULL, 
	batch VARCHAR(80) NOT NULL, 
	stage VARCHAR(12) NOT NULL, 
	dag_run VARCHAR(250) NOT NULL, 
	attempt INTEGER NOT NULL, 
	began DATETIME NOT NULL, 
	ended DATETIME, 
	frames INTEGER NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "stage_attempt" VALUES(1,'dr7-009001-6cf2dd36040e','mirror','manual__2026-11-22T09:00:00+00:00',1,'2026-11-23 05:37:56.681877','2026-11-23 05:37:59.127484',5);
INSERT INTO "stage_attempt" VALUES(2,'dr7-009001-6cf2dd36040e','stage','manual__2026-11-22T09:00:00+00:00',1,'2026-11-23 05:37:59.192105','2026-11-23 05:38:00.136538',4);
INSERT INTO "stage_attempt" VALUES(3,'dr7-009001-6cf2dd36040e','extract','manual__2026-11-22T09:00:00+00:00',1,'2026-11-23 05:38:00.147391','2026-11-23 05:38:03.208801',4);
INSERT INTO "stage_attempt" VALUES(4,'dr7-009001-6cf2dd36040e','validate','manual__2026-11-22T09:00:00+00:00',1,'2026-11-23 05:38:03.272021','2026-11-23 05:38:03.413252',4);
INSERT INTO "stage_attempt" VALUES(5,'dr7-009001-6cf2dd36040e','publish','manual__2026-11-22T09:00:00+00:00',1,'2026-11-23 05:38:03.421189','2026-11-23 05:38:03.478583',4);
CREATE INDEX outcome_by_run ON outcome (dag_run);
CREATE INDEX outcome_by_catalogue ON outcome (archive, release, profile, stage, outcome);
CREATE INDEX ix_stage_attempt_dag_run ON stage_attempt (dag_run);
CREATE INDEX ix_claim_batch ON claim (batch);
COMMIT;
