-- want: ran out of memory
function on.test() return ("x"):rep(1e9) end
