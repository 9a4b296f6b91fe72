-- want: ran out of instructions
function on.test() for _ in function() return 1 end do end end
