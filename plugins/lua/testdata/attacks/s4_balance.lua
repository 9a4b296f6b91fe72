-- want: ran out of instructions
function on.test() return ("("):rep(100000):find("%b()") end
