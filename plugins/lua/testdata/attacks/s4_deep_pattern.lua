-- want: pattern too complex
function on.test() return ("a"):rep(100000):find(("a?"):rep(100000)) end
