-- want: ran out of memory
function on.test() local s = "x" while true do s = s .. s end end
