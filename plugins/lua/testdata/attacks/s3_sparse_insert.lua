-- want: ran out of memory
function on.test() table.insert({}, 20000000, 1) end
