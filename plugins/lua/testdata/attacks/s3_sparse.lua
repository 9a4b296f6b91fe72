-- want: ran out of memory
function on.test() local t = {} t[20000000] = 1 end
