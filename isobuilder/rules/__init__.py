"""Facts about versions as data, each with its source and the day it was looked up."""
