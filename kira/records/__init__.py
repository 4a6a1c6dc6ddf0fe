"""Run records: what made a catalogue, kept so that somebody else can make it again and see what differs."""
