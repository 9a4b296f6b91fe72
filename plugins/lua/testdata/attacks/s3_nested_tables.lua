-- want: ran out of memory
function on.test() local t = {} while true do t = {t} end end
