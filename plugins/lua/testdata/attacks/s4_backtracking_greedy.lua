-- want: ran out of instructions
function on.test() return ("a"):rep(2000):match("a*a*a*a*a*b") end
