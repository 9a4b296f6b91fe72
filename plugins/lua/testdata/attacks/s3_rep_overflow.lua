-- want: ran out of memory
function on.test() return ("xxxxxxxx"):rep(2^61) end
