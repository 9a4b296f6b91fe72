-- want: ran out of memory
function on.test() return {[20000000] = 1} end
