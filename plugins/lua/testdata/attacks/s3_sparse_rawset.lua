-- want: ran out of memory
function on.test() rawset({}, 20000000, 1) end
