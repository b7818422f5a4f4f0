"""Run the command line as a module, without the script `hwopt`: `python -m hwopt COMMAND`."""

from hwopt.cli import main

if __name__ == "__main__":
    main()
