-- want: too many results
function on.test() return unpack({}, 1, 1e8) end
