-- want: ran out of
function on.test() return ("x"):rep(1e6):gsub(".", function(c) return c .. c end) end
