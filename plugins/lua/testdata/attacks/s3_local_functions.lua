-- want: ran out of
function on.test()
  local t = {}
  for i = 1, 1e9 do local function f() return f, i end t[i] = f end
end
