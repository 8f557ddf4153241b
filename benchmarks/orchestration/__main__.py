"""``python -m benchmarks.orchestration``."""

from benchmarks.orchestration.measure import main

if __name__ == "__main__":
    main()
