-- want: ran out of
function on.test() local t = {} for i = 1, 1e9 do t[i] = i * 1.5 end end
