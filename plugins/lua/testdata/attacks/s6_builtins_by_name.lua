-- want: Invalid token
function on.test() return $concat end
