-- want: ran out of memory
function on.test() local n = 20000000 return {[n] = 1} end
