-- want: n is a local of the main chunk
local n = 0
function on.test() n = n + 1 end
