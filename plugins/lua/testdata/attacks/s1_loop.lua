-- want: ran out of instructions
function on.test() while true do end end
