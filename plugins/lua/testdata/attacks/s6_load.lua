-- want: loadstring is not available
function on.test() return loadstring("return 1")() end
