"""Where the compiled library lies; isobuilder loads it and checks that it is the right one."""

from pathlib import Path

LIBRARY = Path(__file__).with_name("libdeflate.so")
