# hint: later fragments pass: they have no ports, what stands there is data; drop a packet whose fragment offset, jset #0x1fff at offset 20, is not 0
answer = """
(000) ldh      [12]
(001) jeq      #0x800           jt 2    jf 10
(002) ldb      [23]
(003) jeq      #0x11            jt 4    jf 10
(004) ldh      [20]
(005) jset     #0x0             jt 10   jf 6
(006) ldxb     4*([14]&0xf)                    ; X = length of the IP header
(007) ldh      [x + 14]
(008) jeq      #0x35            jt 9    jf 10
(009) ret      #65535
(010) ret      #0
"""
