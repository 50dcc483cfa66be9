"""Facts of upstream releases that tests compare with."""
