-- the header comes too late
local x = 1
plugin { id = "vip" }
