-- want: ran out of
function on.test() local t = {} while true do table.insert(t, 1, true) end end
