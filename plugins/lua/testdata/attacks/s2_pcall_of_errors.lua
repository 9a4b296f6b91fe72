-- want: ran out of
function on.test()
  local function deep(n) if n > 0 then return 1 + deep(n - 1) end while true do pcall(error, "x") end end
  deep(150)
end
