-- want: _G is not available
function on.test() _G.seen = true end
