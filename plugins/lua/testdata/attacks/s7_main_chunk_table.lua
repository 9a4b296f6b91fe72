-- want: the table seen belongs to the main chunk
local seen = {}
function on.test() seen.x = true end
