-- want: ran out of
function on.test() local t = {} for i = 1, 1e9 do t[i] = true end end
