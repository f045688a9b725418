"""python -m guarismo"""

from guarismo.cli import main

if __name__ == "__main__":
    main()
