"""`python -m lightning_modules` is the command `kinetoscope`."""

from lightning_modules.cli import main

if __name__ == "__main__":
    main()
