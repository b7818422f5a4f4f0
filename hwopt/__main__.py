"""Run the command line as a module: `python -m hwopt COMMAND`, where no script `hwopt` is installed."""

from hwopt.cli import main

if __name__ == "__main__":
    main()
