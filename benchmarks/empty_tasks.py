"""Spark application: what the driver takes to hand out a task; run by the scenario `scaling`.

    spark-submit benchmarks/empty_tasks.py NUMBER

Tasks count a list of one number in Java: no Python worker has a part in it, so that nearly all of it is Spark's own.
"""

import sys
import time


def main() -> None:
    """Print the seconds of an empty task, from the begin of all to the end of all."""
    from pyspark import SparkContext

    context = SparkContext.getOrCreate()
    number = int(sys.argv[1])
    tasks = context.parallelize(range(number), number)._jrdd
    tasks.count()  # Java compiles what it needs
    began = time.monotonic()
    tasks.count()
    print(f"an empty task: {(time.monotonic() - began) / number:.6f} s")
    context.stop()


if __name__ == "__main__":
    main()
