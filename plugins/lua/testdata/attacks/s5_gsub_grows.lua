-- want: ran out of memory
function on.test() return ("x"):rep(1e5):gsub(".", ("y"):rep(1e4)) end
