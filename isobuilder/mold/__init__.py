"""The Mold (CloudStack) management server: told about finished ISOs, asked what became of them."""
