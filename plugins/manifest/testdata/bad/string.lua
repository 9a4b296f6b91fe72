
plugin "vip"
