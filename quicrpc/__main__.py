"""``python -m quicrpc`` is the ``quicrpc`` command."""

from quicrpc.cli.__main__ import main

if __name__ == "__main__":
    main()
