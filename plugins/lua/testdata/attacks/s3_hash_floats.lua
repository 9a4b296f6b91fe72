-- want: ran out of
function on.test() local t = {} for i = 0.5, 1e9 do t[i] = true end end
