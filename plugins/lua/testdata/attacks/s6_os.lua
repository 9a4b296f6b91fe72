-- want: os is not available
function on.test() os.execute("true") end
