-- want: width or precision too long
function on.test() return string.format("%1000000000d", 1) end
