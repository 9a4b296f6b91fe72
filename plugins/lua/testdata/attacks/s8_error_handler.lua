-- want: ran out of
local function handler(e) error(e) end
function on.test() while true do xpcall(function() error("x") end, handler) end end
