"""`python -m service.trail.verify BUNDLE --policy trust.json`."""

import sys

from service.trail.verify.run import main

if __name__ == "__main__":
    sys.exit(main())
