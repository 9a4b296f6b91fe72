-- want: ran out of instructions
function on.test() return ("a"):rep(200):find(".-.-.-.-.-b") end
