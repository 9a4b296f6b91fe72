-- want: string belongs to the host
string.upper = nil
