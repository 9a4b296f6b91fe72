-- want: must be called with a literal
local name = "os"
require(name)
