-- want: must be called with a literal
local r = require
r("os")
