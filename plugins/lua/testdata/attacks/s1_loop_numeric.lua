-- want: ran out of instructions
function on.test() for i = 1, math.huge do end end
