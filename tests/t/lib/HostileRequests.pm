# HostileRequests: the corpus of malformed and doubtful HTTP requests, one table per family, with what RFC 9112 and RFC 9110
# want of a server that is as strict as they allow. tests/t/030_hostile_http.pl sends them to serve and through nginx.
package HostileRequests;

use strict;
use warnings;

use Exporter 'import';

our @EXPORT = qw(hostile_requests);

# Orders that the requests name; the test puts a number of its own in place of the zeros. ORDER belongs to the request that
# is on trial, HIDDEN to one in its body or inside it, which is never to be run.
our $order = 'ORDER-000000';
our $hidden_order = 'HIDDEN-000000';

=head2 hostile_requests(path, link)

For a postback's path (/p/TOKEN) and a link's (/c/CODE): a list of hash references with

    family, name
    bytes
    verdict     "refused": answered with the status, nothing of it is run, the connection ends
                "taken":   answered with the status, and the connection goes on
                "silent":  not whole; ends without an answer
    status      a pattern: what the specification lets the server choose between

=cut

sub hostile_requests
{
	my ($path, $link) = @_;
	my $target = "$path?order=$order&value=1";
	my $get = "GET $target HTTP/1.1\r\n";
	my $host = "Host: shop\r\n";
	my $form = "Content-Type: application/x-www-form-urlencoded\r\n";
	my $post = "POST $target HTTP/1.1\r\n$host$form";
	my $plain = "POST $path HTTP/1.1\r\n${host}Content-Type: text/plain\r\n";    # whatever its body is: 415
	my $hidden = "GET $path?order=$hidden_order&value=1 HTTP/1.1\r\n$host\r\n";
	my $length = length $hidden;
	my $smuggled = "0\r\n\r\n$hidden";           # ends chunks, is a body by length
	my $whole = length $smuggled;
	my @all;

	# family, verdict, status, then name => bytes ...
	my $add = sub {
		my ($family, $verdict, $status, @cases) = @_;
		while (my ($name, $bytes) = splice @cases, 0, 2)
		{
			push @all, { family => $family, name => $name, bytes => $bytes, verdict => $verdict, status => $status };
		}
	};

	# ---- Content-Length: 1*DIGIT, once (RFC 9110 8.6, RFC 9112 6.3) ----

	my %lengths = (
		'with a plus' => "+$length", 'with a minus' => "-$length", 'minus nothing' => '-0',
		'hexadecimal' => sprintf('0x%x', $length),
		'hexadecimal, 0X' => sprintf('0X%X', $length), 'hexadecimal without 0x' => sprintf('%xh', $length),
		'octal' => "0o$length",
		'binary' => '0b1', 'with a point' => "$length.0", 'with an exponent' => "${length}e0",
		'with a thousands separator' => '1,000',
		'with an underscore' => '1_0', 'of two words' => "$length $length", 'of two words by tab' => "$length\t$length",
		'a list of the same' => "$length, $length", 'a list of the same, no space' => "$length,$length",
		'a list of others' => "0, $length",
		'a list that ends in nothing' => "$length,", 'a list that begins with nothing' => ",$length",
		'with a semicolon' => "$length;",
		'with a parameter' => "$length;a=b", 'quoted' => qq{"$length"}, 'in apostrophes' => "'$length'",
		'in brackets' => "($length)",
		'with a comment' => "$length (bytes)", 'with a unit' => "${length}B", 'with a NUL behind' => "$length\0",
		'with a NUL before' => "\0$length",
		'with a vertical tab behind' => "$length\x0b", 'with a vertical tab before' => "\x0b$length",
		'with a form feed' => "\x0c$length",
		'with a byte 85 behind' => "$length\x85", 'with a byte A0 before' => "\xa0$length",
		'with a no-break space' => "$length\xc2\xa0",
		'of digits of full width' => "\xef\xbc\x91\xef\xbc\x90", 'of Arabic digits' => "\xd9\xa1\xd9\xa0",
		'with a superscript' => "1\xc2\xb2",
		'NaN' => 'NaN', 'infinity' => 'Infinity', 'true' => 'true', 'percent-encoded' => '%31', 'empty' => '',
		'of spaces' => '   ',
		'of a tab' => "\t", 'with a bare CR' => "$length\r0", 'with a bare CR before' => "\r$length",
		'with a DEL' => "$length\x7f",
		'a fraction' => '1/1', 'with a colon' => ":$length", 'with an equals sign' => "=$length", 'with a star' => '*',
		'with a minus behind' => "$length-",
	);
	$add->('length', 'refused', '400', map { ("a length $_" => "${post}Content-Length: $lengths{$_}\r\n\r\n$hidden") } sort keys %lengths);
	$add->('length', 'refused', '400|413', map { ("a length of $_" => "${post}Content-Length: $_\r\n\r\n$hidden") }
		  '65537', '4294967296', 4294967296 + $length, '2147483648', '9007199254740993', '999999999999999999', '9223372036854775807',
		  '9223372036854775808', '18446744073709551615', '18446744073709551616', '18446744073709551617', '9' x 100, '1' . '0' x 1000);
	$add->('length', 'refused', '400',
		'the same length twice' => "${post}Content-Length: $length\r\nContent-Length: $length\r\n\r\n$hidden",
		'nothing, then a length' => "${post}Content-Length: 0\r\nContent-Length: $length\r\n\r\n$hidden",
		'a length, then nothing' => "${post}Content-Length: $length\r\nContent-Length: 0\r\n\r\n$hidden",
		'three lengths' => "${post}Content-Length: 0\r\nContent-Length: $length\r\nContent-Length: 1\r\n\r\n$hidden",
		'two lengths with much between' => "${post}Content-Length: 0\r\n" . "X-A: b\r\n" x 20 . "content-length: $length\r\n\r\n$hidden",
		'two lengths in other cases' => "${post}CONTENT-LENGTH: 0\r\ncontent-length: $length\r\n\r\n$hidden",
		'a length and one with a space before the colon' => "${post}Content-Length: 0\r\nContent-Length : $length\r\n\r\n$hidden",
		'a length with a space before the colon' => "${post}Content-Length : $length\r\n\r\n$hidden",
		'a length with a tab before the colon' => "${post}Content-Length\t: $length\r\n\r\n$hidden",
		'a length with a NUL before the colon' => "${post}Content-Length\0: $length\r\n\r\n$hidden",
		'a length with a vertical tab before the colon' => "${post}Content-Length\x0b: $length\r\n\r\n$hidden",
		'a length behind a space' => "${post} Content-Length: $length\r\n\r\n$hidden",
		'a length behind a tab' => "${post}\tContent-Length: $length\r\n\r\n$hidden",
		'a folded length' => "${post}Content-Length:\r\n $length\r\n\r\n$hidden",
		'a length folded by tab' => "${post}Content-Length: 0\r\n\t$length\r\n\r\n$hidden",
		'a length behind a bare LF' => "${post}X-A: b\nContent-Length: $length\r\n\r\n$hidden",
		'a length behind a bare CR' => "${post}X-A: b\rContent-Length: $length\r\n\r\n$hidden",
		'a GET with a body' => "$get${host}Content-Length: $length\r\n\r\n$hidden",
		'a HEAD with a body' => "HEAD $link HTTP/1.1\r\n${host}Content-Length: $length\r\n\r\n$hidden",
		'a DELETE with a body' => "DELETE $target HTTP/1.1\r\n${host}Content-Length: $length\r\n\r\n$hidden",
		'an OPTIONS with a body' => "OPTIONS $target HTTP/1.1\r\n${host}Content-Length: $length\r\n\r\n$hidden",
		'a TRACE with a body' => "TRACE $target HTTP/1.1\r\n${host}Content-Length: $length\r\n\r\n$hidden",
		# Trailing white space is legal, but libmicrohttpd would keep it: strictness of our own.
		'a length with white space behind' => "${post}Content-Length: $length \r\n\r\n$hidden");
	$add->('length', 'taken', '415',
		'a body that is a request' => "${plain}Content-Length: $length\r\n\r\n$hidden",
		'a length with zeros before' => "${plain}Content-Length: 0000$length\r\n\r\n$hidden",
		'a length without a space' => "${plain}Content-Length:$length\r\n\r\n$hidden",
		'a length with much space' => "${plain}Content-Length: \t   $length\r\n\r\n$hidden",
		'a length beside one with an underscore' => "${plain}Content_Length: 0\r\nContent-Length: $length\r\n\r\n$hidden",
		'a length beside one with a prefix' => "${plain}X-Content-Length: 0\r\nContent-Length: $length\r\n\r\n$hidden",
		'a length that Connection names' => "${plain}Connection: Content-Length\r\nContent-Length: $length\r\n\r\n$hidden");

	# ---- Transfer-Encoding (RFC 9112 6.1, 6.3; one that is not understood: 501 or 400) ----

	my @encodings = (
		'xchunked' => 'Transfer-Encoding: xchunked', 'chunkedx' => 'Transfer-Encoding: chunkedx',
		'chunk' => 'Transfer-Encoding: chunk',
		'cow' => 'Transfer-Encoding: cow', 'identity' => 'Transfer-Encoding: identity', 'gzip' => 'Transfer-Encoding: gzip',
		'gzip, chunked' => 'Transfer-Encoding: gzip, chunked', 'chunked, gzip' => 'Transfer-Encoding: chunked, gzip',
		'chunked, identity' => 'Transfer-Encoding: chunked, identity',
		'identity, chunked' => 'Transfer-Encoding: identity, chunked',
		'chunked, chunked' => 'Transfer-Encoding: chunked, chunked', 'chunked and a comma' => 'Transfer-Encoding: chunked,',
		'a comma and chunked' => 'Transfer-Encoding: , chunked',
		'chunked with a parameter' => 'Transfer-Encoding: chunked;q=1',
		'chunked and a semicolon' => 'Transfer-Encoding: chunked;', 'quoted' => 'Transfer-Encoding: "chunked"',
		'in apostrophes' => "Transfer-Encoding: 'chunked'", 'with a vertical tab before' => "Transfer-Encoding:\x0bchunked",
		'with a vertical tab behind' => "Transfer-Encoding: chunked\x0b",
		'with a form feed' => "Transfer-Encoding:\x0cchunked",
		'with a byte A0' => "Transfer-Encoding:\xa0chunked", 'with a byte A0 behind' => "Transfer-Encoding: chunked\xa0",
		'with a byte FF' => "Transfer-Encoding: \xffchunked", 'with a NUL before' => "Transfer-Encoding: \0chunked",
		'with a NUL behind' => "Transfer-Encoding: chunked\0", 'with a NUL inside' => "Transfer-Encoding: chun\0ked",
		'with a bare CR behind' => "Transfer-Encoding: chunked\rX-A: b",
		'with a bare CR before' => "Transfer-Encoding:\rchunked",
		'with a bare LF before' => "X-A: b\nTransfer-Encoding: chunked",
		'with a bare LF behind' => "Transfer-Encoding: chunked\nX-A: b",
		'with a bare CR between' => "X-A: b\rTransfer-Encoding: chunked", 'with CR CR LF' => "Transfer-Encoding: chunked\r",
		'with a space before the colon' => 'Transfer-Encoding : chunked',
		'with a tab before the colon' => "Transfer-Encoding\t: chunked",
		'with a NUL before the colon' => "Transfer-Encoding\0: chunked",
		'with a vertical tab before the colon' => "Transfer-Encoding\x0b: chunked",
		'with a byte A0 before the colon' => "Transfer-Encoding\xa0: chunked",
		'with a fold before the colon' => "Transfer-Encoding\r\n : chunked",
		'with a bare LF before the colon' => "Transfer-Encoding\n: chunked",
		'without a colon' => 'Transfer-Encoding chunked',
		'folded' => "Transfer-Encoding:\r\n chunked", 'folded by tab' => "Transfer-Encoding:\r\n\tchunked",
		'folded behind' => "Transfer-Encoding: chunked\r\n ",
		'folded with more' => "Transfer-Encoding: chunked\r\n , identity",
		'hidden in a fold' => "X-A: b\r\n Transfer-Encoding: chunked",
		'behind a space' => ' Transfer-Encoding: chunked', 'behind a tab' => "\tTransfer-Encoding: chunked",
		'behind a NUL' => "\0Transfer-Encoding: chunked",
		'in two words' => 'Transfer-Encoding: chun ked', 'with a hyphen missing' => 'Transfer Encoding: chunked',
		'with a byte above ASCII in the name' => "Transfer-Encod\xefng: chunked",
		'of nothing' => 'Transfer-Encoding:', 'of spaces' => 'Transfer-Encoding:   ',
		'twice' => "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
		'chunked, then cow' => "Transfer-Encoding: chunked\r\nTransfer-Encoding: cow",
		'cow, then chunked' => "Transfer-Encoding: cow\r\nTransfer-Encoding: chunked",
		'chunked, then identity' => "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
		'then one in lower case' => "Transfer-Encoding: chunked\r\ntransfer-encoding: identity",
		'percent-encoded' => 'Transfer-Encoding: %63hunked', 'as a number' => 'Transfer-Encoding: 1',
		'with a Kelvin sign' => "Transfer-Encoding: chun\xe2\x84\xaaed",
	);
	while (my ($name, $field) = splice @encodings, 0, 2)
	{
		$add->('encoding', 'refused', '400|501',
			"an encoding $name" => "$post$field\r\n\r\n$smuggled",
			"an encoding $name, behind a length" => "${post}Content-Length: $whole\r\n$field\r\n\r\n$smuggled",
			"an encoding $name, before a length" => "$post$field\r\nContent-Length: 4\r\n\r\n$smuggled");
	}
	$add->('encoding', 'refused', '400',
		'chunked behind a length of all' => "${post}Content-Length: $whole\r\nTransfer-Encoding: chunked\r\n\r\n$smuggled",
		'chunked behind a length of a part' => "${post}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n$smuggled",
		'chunked before a length of all' => "${post}Transfer-Encoding: chunked\r\nContent-Length: $whole\r\n\r\n$smuggled",
		'chunked beside a length of nothing' => "${post}Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n$smuggled",
		'chunked beside a wrong length' => "${post}Content-Length: x\r\nTransfer-Encoding: chunked\r\n\r\n$smuggled",
		'CHUNKED beside a length' => "${post}Content-Length: $whole\r\ntransfer-encoding:CHUNKED\r\n\r\n$smuggled",
		'a GET in chunks' => "$get${host}Transfer-Encoding: chunked\r\n\r\n$smuggled",
		'a HEAD in chunks' => "HEAD $link HTTP/1.1\r\n${host}Transfer-Encoding: chunked\r\n\r\n$smuggled",
		'HTTP/1.0 in chunks' => "POST $target HTTP/1.0\r\n$host${form}Transfer-Encoding: chunked\r\n\r\n$smuggled",
		'HTTP/1.0 in chunks with a length' => "POST $target HTTP/1.0\r\n$host${form}Transfer-Encoding: chunked\r\nContent-Length: $whole\r\n\r\n$smuggled",
		# Trailing white space is legal, but libmicrohttpd would keep it: strictness of our own.
		'chunked with white space behind' => "${post}Transfer-Encoding: chunked \r\n\r\n$smuggled");
	$add->('encoding', 'taken', '415',
		'fields that are only alike, beside a length' => "${plain}Transfer_Encoding: chunked\r\nX-Transfer-Encoding: chunked\r\n"
		  . "Content-Encoding: chunked\r\nTE: chunked\r\nTrailer: X-A\r\nContent-Length: $whole\r\n\r\n$smuggled",
		'a chunk that is a request' => sprintf("%sTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", $plain, $length, $hidden),
		'a chunk that ends chunks' => sprintf("%sTransfer-Encoding:\tChunKed\r\n\r\n%X\r\n%s\r\n0\r\n\r\n", $plain, $whole, $smuggled),
		'chunks of one byte' => "${plain}Transfer-Encoding: chunked\r\n\r\n" . join('', map { "1\r\n$_\r\n" } split //, $hidden) . "0\r\n\r\n",
		'chunk sizes with zeros before' => sprintf("%sTransfer-Encoding: chunked\r\n\r\n%08x\r\n%s\r\n00000000\r\n\r\n", $plain, $length, $hidden));

	# ---- chunks (RFC 9112 7.1) ----

	my $chunked = "${post}Transfer-Encoding: chunked\r\n\r\n";
	my $hex = sprintf '%x', $length;
	my %chunks = (
		'of no size' => "\r\n$hidden", 'of size x' => "x\r\n$hidden", 'of size g' => "g\r\n$hidden",
		'of negative size' => "-1\r\n$hidden",
		'of size -0' => "-0\r\n\r\n$hidden", 'of size +0' => "+0\r\n\r\n$hidden", 'of size 0x0' => "0x0\r\n\r\n$hidden",
		'of quoted size' => qq{"0"\r\n\r\n$hidden},
		'of size 0.0' => "0.0\r\n\r\n$hidden", 'of size 0,0' => "0,0\r\n\r\n$hidden",
		'of size 0_0' => "0_0\r\n\r\n$hidden", 'of size h' => "0h\r\n\r\n$hidden",
		'with a space before its size' => " 0\r\n\r\n$hidden", 'with a tab before its size' => "\t0\r\n\r\n$hidden",
		'with a space behind its size' => "0 \r\n\r\n$hidden",
		'with a NUL before its size' => "\x000\r\n\r\n$hidden", 'with a NUL behind its size' => "0\0\r\n\r\n$hidden",
		'with a vertical tab' => "0\x0b\r\n\r\n$hidden",
		'with a bare LF behind its size' => "0\n\r\n$hidden", 'with bare LFs' => "0\n\n$hidden",
		'with a bare CR behind its size' => "0\r\r\n$hidden",
		'with CR CR LF' => "0\r\r\n\r\n$hidden", 'with LF CR' => "0\n\r\n\r$hidden",
		'with a bare LF at the end' => "0\r\n\n$hidden", 'with a bare CR at the end' => "0\r\n\r$hidden",
		'with an extension of a bare LF' => "0;\n\r\n$hidden",
		'with an extension in two lines' => "1;a\r\n b\r\nx\r\n0\r\n\r\n$hidden",
		'with an extension of a NUL' => "0;\0\r\n\r\n$hidden",
		'with a quoted extension that does not end' => qq{0;a="b\r\n\r\n$hidden},
		'longer than it says' => "1\r\nab\r\n0\r\n\r\n$hidden", 'shorter than it says' => "3\r\nab\r\n0\r\n\r\n$hidden",
		'without CRLF behind' => "1\r\na0\r\n\r\n$hidden", 'with a bare LF behind' => "1\r\na\n0\r\n\r\n$hidden",
		'with a bare CR behind' => "1\r\na\r0\r\n\r\n$hidden",
		'with two CRLF behind' => "1\r\na\r\n\r\n0\r\n\r\n$hidden",
		'of no size after a good one' => "1\r\na\r\n\r\n\r\n$hidden", 'with a semicolon first' => ";a=b\r\n\r\n$hidden",
		'with digits of full width' => "\xef\xbc\x90\r\n\r\n$hidden",
		'with a trailer without a colon' => "0\r\nX-A\r\n\r\n$hidden",
		'with a folded trailer' => "0\r\nX-A: b\r\n c\r\n\r\n$hidden",
		'with a trailer that has a bare LF' => "0\r\nX-A: b\n\r\n$hidden",
		'with a trailer that has a NUL' => "0\r\nX-A: \0\r\n\r\n$hidden",
		'with a length in the trailer' => "0\r\nContent-Length: $length\r\n\r\n$hidden",
		'with an encoding in the trailer' => "0\r\nTransfer-Encoding: chunked\r\n\r\n$smuggled",
		'with a Host in the trailer' => "0\r\nHost: other\r\n\r\n$hidden", 'with a request in the trailer' => "0\r\n$hidden",
	);
	$add->('chunk', 'refused', '400', map { ("a chunk $_" => "$chunked$chunks{$_}") } sort keys %chunks);
	# Extensions and trailers are legal; their length may be limited, and the limit here is nothing.
	$add->('chunk', 'refused', '4\d\d',
		'a chunk extension' => "${chunked}$hex;a=b\r\n$hidden\r\n0\r\n\r\n",
		'a chunk extension without a value' => "${chunked}$hex;a\r\n$hidden\r\n0\r\n\r\n",
		'an empty chunk extension' => "${chunked}$hex;\r\n$hidden\r\n0\r\n\r\n",
		'a quoted chunk extension' => qq{${chunked}$hex;a="b;c"\r\n$hidden\r\n0\r\n\r\n},
		'an extension of the last chunk' => "${chunked}0;a=b\r\n\r\n$hidden",
		'a long chunk extension' => "${chunked}0;" . 'a' x 20000 . "\r\n\r\n$hidden",
		'a trailer' => "${chunked}0\r\nX-A: b\r\n\r\n$hidden",
		'a long trailer' => "${chunked}0\r\n" . "X-A: b\r\n" x 5000 . "\r\n$hidden");
	$add->('chunk', 'refused', '400|413', map { ("a chunk of size $_" => "$chunked$_\r\n$hidden") }
		  '10001', 'ffffff', '7fffffff', '80000000', 'ffffffff', '100000000', '7fffffffffffffff', '8000000000000000', 'ffffffffffffffff', '10000000000000000',
		  '100000000000000000000000000000000', 'f' x 1000, '0' x 1000 . '0');

	# ---- Host (RFC 9112 3.2: missing, repeated or invalid is 400) ----

	my %hosts = (
		'missing' => '', 'repeated' => "Host: shop\r\nHost: shop\r\n",
		'repeated with another' => "Host: shop\r\nHost: other\r\n",
		'repeated in other case' => "Host: shop\r\nhOST: other\r\n",
		'repeated with much between' => "Host: shop\r\n" . "X-A: b\r\n" x 20 . "Host: shop\r\n",
		'with a space before the colon' => "Host : shop\r\n", 'folded' => "Host:\r\n shop\r\n",
		'behind a space' => " Host: shop\r\n", 'of two words' => "Host: shop other\r\n",
		'with a path' => "Host: shop/x\r\n", 'with a user' => "Host: a\@shop\r\n",
		'with a query' => "Host: shop?x\r\n", 'with a fragment' => "Host: shop#x\r\n",
		'with a backslash' => "Host: shop\\x\r\n", 'a list' => "Host: shop, other\r\n",
		'with a NUL' => "Host: sh\0op\r\n", 'with a tab' => "Host: sh\top\r\n",
		'with a bare CR' => "Host: shop\rX-A: b\r\n", 'with a bare LF' => "Host: shop\nX-A: b\r\n",
		'with a control byte' => "Host: sh\x01op\r\n", 'with a DEL' => "Host: shop\x7f\r\n",
		'a URL' => "Host: http://shop/\r\n", 'quoted' => qq{Host: "shop"\r\n},
		'with angle brackets' => "Host: <shop>\r\n", 'with braces' => "Host: {shop}\r\n",
		'with a pipe' => "Host: a|b\r\n", 'with a caret' => "Host: a^b\r\n",
		'only named X-Host' => "X-Host: shop\r\n", 'only forwarded' => "X-Forwarded-Host: shop\r\n",
		'without a colon' => "Host shop\r\n",
	);
	$add->('host', 'refused', '400', map { ("a Host $_" => "$get$hosts{$_}\r\n$hidden") } sort keys %hosts);
	$add->('host', 'refused', '4\d\d', 'a Host too long' => "${get}Host: " . 'a' x 5000 . "\r\n\r\n$hidden");
	$add->('host', 'taken', '200',
		'a Host with a port' => "${get}Host: shop:8080\r\n\r\n",
		'a Host of version 6' => "${get}Host: [::1]:8080\r\n\r\n",
		'a Host with spaces around' => "${get}Host: \t shop \t\r\n\r\n",
		'X-Forwarded-Host beside Host' => "${get}${host}X-Forwarded-Host: other\r\nX-Host: other\r\nForwarded: host=other\r\n\r\n");

	# ---- the request line (RFC 9112 3) ----

	my %lines = (
		'without a version (HTTP/0.9)' => "GET $target", 'of HTTP/0.9 by name' => "GET $target HTTP/0.9",
		'of version HTTP/1' => "GET $target HTTP/1", 'of version HTTP/1.' => "GET $target HTTP/1.",
		'of version HTTP/.1' => "GET $target HTTP/.1", 'of version HTTP/11' => "GET $target HTTP/11",
		'of version HTTP/1.10' => "GET $target HTTP/1.10", 'of version HTTP/1.1.1' => "GET $target HTTP/1.1.1",
		'of version HTTP/01.1' => "GET $target HTTP/01.1", 'of version HTTP/1.01' => "GET $target HTTP/1.01",
		'of version HTTP/-1.1' => "GET $target HTTP/-1.1", 'of version HTTP/1,1' => "GET $target HTTP/1,1",
		'of version http/1.1' => "GET $target http/1.1", 'of version Http/1.1' => "GET $target Http/1.1",
		'of version HTTP 1.1' => "GET $target HTTP 1.1", 'of version HTTP/1.1x' => "GET $target HTTP/1.1x",
		'of version HTTP/1.1;' => "GET $target HTTP/1.1;", 'of version HTTPS/1.1' => "GET $target HTTPS/1.1",
		'of version ICY/1.1' => "GET $target ICY/1.1", 'of version HTTP/1.x' => "GET $target HTTP/1.x",
		'of version HTTP/ 1.1' => "GET $target HTTP/ 1.1", 'of an Arabic version' => "GET $target HTTP/1.\xd9\xa1",
		'of two versions' => "GET $target HTTP/1.1 HTTP/1.1", 'with a space behind' => "GET $target HTTP/1.1 ",
		'with a tab behind' => "GET $target HTTP/1.1\t", 'with a NUL behind' => "GET $target HTTP/1.1\0",
		'with a CR behind' => "GET $target HTTP/1.1\r", 'with two spaces first' => "GET  $target HTTP/1.1",
		'with two spaces last' => "GET $target  HTTP/1.1", 'with tabs' => "GET\t$target\tHTTP/1.1",
		'with a vertical tab' => "GET\x0b$target HTTP/1.1", 'with a form feed' => "GET\x0c$target HTTP/1.1",
		'with a byte A0' => "GET\xa0$target HTTP/1.1", 'with a space before' => " GET $target HTTP/1.1",
		'with a tab before' => "\tGET $target HTTP/1.1", 'with a bare LF before' => "\nGET $target HTTP/1.1",
		'with a bare CR before' => "\rGET $target HTTP/1.1", 'with a NUL before' => "\0GET $target HTTP/1.1",
		'with a byte-order mark before' => "\xef\xbb\xbfGET $target HTTP/1.1",
		'with two empty lines before' => "\r\n\r\nGET $target HTTP/1.1", 'without a method' => "$target HTTP/1.1",
		'of a space and a target' => " $target HTTP/1.1", 'without a target' => 'GET HTTP/1.1',
		'with an empty target' => 'GET  HTTP/1.1', 'of a word' => 'GET', 'of nothing but spaces' => '   ',
		'with a space in the target' => "GET $path?order=$order &value=1 HTTP/1.1",
		'with a bare LF in the target' => "GET $path?order=$order\n&value=1 HTTP/1.1",
		'with a bare CR in the target' => "GET $path?order=$order\r&value=1 HTTP/1.1",
		'with a tab in the target' => "GET $path?order=$order\t&value=1 HTTP/1.1",
		'with a request in the target' => "GET $path?order=$order HTTP/1.1\r\nX-A: GET $target HTTP/1.1\n$host",
		'with a relative target' => 'GET p/x HTTP/1.1', 'with a target of a query' => 'GET ?order=x HTTP/1.1',
		'with a target of a fragment' => 'GET # HTTP/1.1', 'with a backslash for a slash' => 'GET \\p\\x HTTP/1.1',
		'with a star' => 'GET * HTTP/1.1', 'with an authority' => 'GET shop:80 HTTP/1.1',
		'with a user in the target' => "GET http://a\@shop$target HTTP/1.1",
		'with another scheme' => "GET ftp://shop$target HTTP/1.1",
		'with a scheme of javascript' => 'GET javascript:1 HTTP/1.1',
		'with a scheme and no host' => "GET http://$target HTTP/1.1",
		'with one slash behind the scheme' => "GET http:/shop$target HTTP/1.1",
		'with no slash behind the scheme' => "GET http:$target HTTP/1.1",
		'with a space in the host' => "GET http://sh op$target HTTP/1.1",
		'with a quoted target' => qq{GET "$target" HTTP/1.1},
		'with a target in angle brackets' => "GET <$target> HTTP/1.1",
		'in two lines' => "GET $target\r\n HTTP/1.1", 'without spaces' => "GET$target" . 'HTTP/1.1',
	);
	$add->('line', 'refused', '4\d\d|50[15]', map { ("a request line $_" => "$lines{$_}\r\n$host\r\n$hidden") } sort keys %lines);
	# Of a higher minor version than 1.1 there is none; it should be taken as 1.1, or refused like any other.
	$add->('line', 'refused', '400|505', map { ("version $_" => "GET $target $_\r\n$host\r\n$hidden") } 'HTTP/2.0', 'HTTP/2', 'HTTP/3', 'HTTP/3.0', 'HTTP/9.9', 'HTTP/0.1', 'HTTP/1.2', 'HTTP/1.9');
	my %methods = map { ($_ => $_) } 'G(T', 'G)T', 'G<T', 'G@T', 'G,T', 'G;T', 'G:T', 'G\\T', 'G"T', 'G/T', 'G[T', 'G]T', 'G?T', 'G=T', 'G{T', 'G}T', "G\x01T", "G\x7fT", "G\xe9T", "G\0T";
	$add->('line', 'refused', '400', map { (sprintf('a method with the byte %02x', ord substr $methods{$_}, 1) => "$methods{$_} $target HTTP/1.1\r\n$host\r\n$hidden") } sort keys %methods);
	$add->('line', 'refused', '400|405|501',
		'a method of 100 letters' => 'A' x 100 . " $target HTTP/1.1\r\n$host\r\n$hidden",
		'a method of 20000 letters' => 'A' x 20000 . " $target HTTP/1.1\r\n$host\r\n$hidden",
		'CONNECT to an authority' => "CONNECT shop:443 HTTP/1.1\r\n$host\r\n$hidden",
		'CONNECT to an address' => "CONNECT 127.0.0.1:5432 HTTP/1.1\r\n$host\r\n$hidden",
		'OPTIONS of a star' => "OPTIONS * HTTP/1.1\r\n$host\r\n$hidden");
	$add->('line', 'refused', '414',
		'a target too long' => "GET $target&x=" . 'x' x 8192 . " HTTP/1.1\r\n$host\r\n$hidden",
		'a target of 100000 bytes' => "GET $target&x=" . 'x' x 100000 . " HTTP/1.1\r\n$host\r\n$hidden",
		'a path too long' => 'GET /' . 'p/' x 8192 . " HTTP/1.1\r\n$host\r\n$hidden");
	# Every server must take the absolute form (RFC 9112 3.2.2).
	$add->('line', 'taken', '200', 'an absolute target' => "GET http://shop$target HTTP/1.1\r\n$host\r\n",
		'an absolute target of https' => "GET https://shop:443$target HTTP/1.1\r\n$host\r\n",
		'an absolute target in capitals' => "GET HTTP://SHOP$target HTTP/1.1\r\n$host\r\n",
		'an absolute target of another host' => "GET http://other:80$target HTTP/1.1\r\n$host\r\n",
		'an absolute target of version 6' => "GET http://[::1]:80$target HTTP/1.1\r\n$host\r\n",
		'an empty line before' => "\r\n$get$host\r\n");
	$add->('line', 'taken', '404', 'an absolute target without a path' => "GET http://shop HTTP/1.1\r\n$host\r\n",
		'an absolute target with a query and no path' => "GET http://shop?order=$hidden_order HTTP/1.1\r\n$host\r\n",
		'an absolute target inside a path' => "GET /http://shop$target HTTP/1.1\r\n$host\r\n");
	$add->('line', 'taken', '405|501', map { ("method $_" => "$_ $target HTTP/1.1\r\n$host\r\n") } qw(PUT DELETE OPTIONS TRACE PATCH get Get gET POST2 GETT BREW PROPFIND), q{!#$%&'*+-.^_`|~});

	# ---- lines and fields (RFC 9112 2.2, 5) ----

	my @lines = ("GET $target HTTP/1.1", 'Host: shop', 'X-A: b', '');
	my %ends = ('a bare LF' => "\n", 'a bare CR' => "\r", 'LF CR' => "\n\r", 'CR CR LF' => "\r\r\n",
		'CR NUL LF' => "\r\0\n", 'CR space LF' => "\r \n", 'a NUL' => "\0", 'a vertical tab' => "\x0b",
		'a byte 85' => "\x85", 'a line separator' => "\xe2\x80\xa8");
	for my $number (0 .. $#lines)
	{
		for my $end (sort keys %ends)
		{
			my $bytes = join '', map { $lines[$_] . ($_ == $number ? $ends{$end} : "\r\n") } 0 .. $#lines;
			# These are bytes of a field's value like others, and so nothing is wrong.
			next if $number == 1 + 1 && $end =~ /85|separator/;
			$add->('end', 'refused', '400', "$end at the end of line " . ($number + 1) => $bytes . $hidden);
		}
	}
	$add->('end', 'refused', '400', 'bare LFs only' => "GET $target HTTP/1.1\nHost: shop\n\n$hidden",
		'bare CRs only' => "GET $target HTTP/1.1\rHost: shop\r\r$hidden");
	my %fields = (
		'without a colon' => 'X-A', 'without a name' => ': b', 'of a colon' => ':',
		'with a space before the colon' => 'X-A : b', 'with a tab before the colon' => "X-A\t: b",
		'with a space in its name' => 'X A: b',
		'folded' => "X-A: b\r\n c", 'folded by tab' => "X-A: b\r\n\tc", 'folded to nothing' => "X-A: b\r\n ",
		'folded twice' => "X-A: b\r\n c\r\n d", 'of a fold only' => " \r\nX-A: b",
		'with a bare CR' => "X-A: b\rc", 'with a bare LF' => "X-A: b\nc",
		'with a byte above ASCII in its name' => "X-\xe9: b", 'with UTF-8 in its name' => "X-\xc3\xa9: b",
		'with a quote in its name' => 'X"A: b',
		'with a slash in its name' => 'X/A: b', 'with an at sign in its name' => 'X@A: b',
		'with a bracket in its name' => 'X(A): b', 'with an equals sign in its name' => 'X=A: b',
		'with a comma in its name' => 'X,A: b',
		'with a request line for a name' => "GET $path?order=$hidden_order&value=1 HTTP/1.1",
		'of type twice' => "Content-Type: text/plain\r\nContent-Type: application/json",
	);
	$add->('field', 'refused', '400', map { ("a field $_" => "$get$host$fields{$_}\r\n\r\n$hidden") } sort keys %fields);
	$add->('field', 'refused', '431',
		'65 fields' => $get . $host . "X-A: b\r\n" x 64 . "\r\n$hidden",
		'10000 fields' => $get . $host . "X-A: b\r\n" x 10000 . "\r\n$hidden",
		'a field of 15000 bytes' => "$get${host}X-A: " . 'x' x 15000 . "\r\n\r\n$hidden",
		'a field of 1000000 bytes' => "$get${host}X-A: " . 'x' x 1_000_000 . "\r\n\r\n$hidden",
		'a field name of 15000 bytes' => "$get${host}X-" . 'x' x 15000 . ": b\r\n\r\n$hidden",
		'fields of 15000 bytes together' => $get . $host . ('X-A: ' . 'x' x 500 . "\r\n") x 30 . "\r\n$hidden");
	$add->('field', 'taken', '200',
		'a field of nothing' => "$get${host}X-A:\r\n\r\n", 'a field of spaces' => "$get${host}X-A: \t \r\n\r\n",
		'a field of colons' => "$get${host}X-A: ::::\r\n\r\n",
		'a field of bytes above ASCII' => "$get${host}X-A: \xe9\xff\x80\r\n\r\n",
		'64 fields' => $get . $host . "X-A: b\r\n" x 63 . "\r\n",
		'a name of odd letters' => "$get${host}!#\$%&'*+-.^_`|~09aZ: b\r\n\r\n",
		'a request in a field' => "$get${host}X-A: GET $path?order=$hidden_order&value=1 HTTP/1.1\r\n\r\n",
		'Upgrade to h2c' => "$get${host}Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n\r\n",
		'Upgrade to websocket' => "$get${host}Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
		'Upgrade to TLS' => "$get${host}Connection: Upgrade\r\nUpgrade: TLS/1.3\r\n\r\n",
		'a Range' => "$get${host}Range: bytes=0-0\r\n\r\n",
		'a Range of much' => "$get${host}Range: bytes=" . join(',', map { "$_-" } 0 .. 500) . "\r\n\r\n",
		'conditions' => "$get${host}If-None-Match: *\r\nIf-Modified-Since: Thu, 01 Jan 2099 00:00:00 GMT\r\n\r\n",
		'Connection of odd words' => "$get${host}Connection: keep-alive, Host, X-A, \xe9\r\n\r\n",
		'Keep-Alive' => "$get${host}Connection: keep-alive\r\nKeep-Alive: timeout=999999, max=-1\r\n\r\n",
		'Max-Forwards' => "$get${host}Max-Forwards: 0\r\n\r\n",
		'Proxy fields' => "$get${host}Proxy-Connection: close\r\nProxy-Authorization: Basic YTpi\r\nAuthorization: Basic YTpi\r\n\r\n");

	# ---- Expect (RFC 9110 10.1.1; what is not understood may be 417) ----

	my $body = 'x=y';
	my $three = 'Content-Length: ' . length($body) . "\r\n";
	$add->('expect', 'taken', '200',
		'Expect: 100-continue with the body at once' => "$post${three}Expect: 100-continue\r\n\r\n$body",
		'Expect in capitals' => "$post${three}EXPECT: 100-CONTINUE\r\n\r\n$body",
		'Expect without a body' => "$get${host}Expect: 100-continue\r\n\r\n",
		'Expect with chunks' => "${post}Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n3\r\nx=y\r\n0\r\n\r\n");
	$add->('expect', 'taken', '200|417', 'Expect: 200-ok' => "$post${three}Expect: 200-ok\r\n\r\n$body",
		'Expect of nothing' => "$post${three}Expect:\r\n\r\n$body",
		'Expect twice' => "$post${three}Expect: 100-continue\r\nExpect: 100-continue\r\n\r\n$body",
		'Expect with a parameter' => "$post${three}Expect: 100-continue;a=b\r\n\r\n$body",
		'Expect of long words' => "$post${three}Expect: " . 'x' x 5000 . "\r\n\r\n$body");
	$add->('expect', 'refused', '400',
		'Expect with a wrong length' => "${post}Content-Length: x\r\nExpect: 100-continue\r\n\r\n$hidden");
	$add->('expect', 'refused', '413',
		'Expect with a length too large' => "${post}Content-Length: 99999999\r\nExpect: 100-continue\r\n\r\n$hidden");

	# ---- NUL in every position, every control byte in every part ----

	my $short = "GET $path?order=$order HTTP/1.1\r\nHost: s\r\nX: y\r\n\r\n";
	$add->('NUL', 'refused', '400', map { ("a NUL before byte $_" => substr($short, 0, $_) . "\0" . substr($short, $_) . $hidden) } 0 .. length($short) - 1);
	my %parts = ('the method' => ['GE', "T $target HTTP/1.1\r\n$host\r\n"],
		'the path' => ["GET $path", " HTTP/1.1\r\n$host\r\n"], 'the query' => ["GET $target", " HTTP/1.1\r\n$host\r\n"],
		'the version' => ["GET $target HTTP/", "1.1\r\n$host\r\n"],
		'a field name' => ["$get${host}X", "A: b\r\n\r\n"], 'a field value' => ["$get${host}X-A: b", "c\r\n\r\n"],
		'the Host' => ["${get}Host: sh", "op\r\n\r\n"]);
	for my $byte (1 .. 31, 127)
	{
		next if $byte == 10 || $byte == 13;    # among the ends of lines above
		for my $part (sort keys %parts)
		{
			next if $byte == 9 && $part eq 'a field value';
			$add->('control', 'refused', '400', sprintf('the byte %02x in %s', $byte, $part) => $parts{$part}[0] . chr($byte) . $parts{$part}[1] . $hidden);
		}
	}

	# ---- other protocols ----

	$add->('protocol', 'refused', '400|505',
		'the preface of HTTP/2' => "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" . "\0\0\0\x04\0\0\0\0\0$hidden",
		'a TLS hello' => "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03$hidden",
		'SSL 2' => "\x80\x2e\x01\x00\x02$hidden",
		'a PROXY line' => "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n$hidden",
		'a PROXY of version 2' => "\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c$hidden", 'SOCKS 5' => "\x05\x01\x00$hidden",
		'SOCKS 4' => "\x04\x01\x00\x50$hidden",
		'SMTP' => "EHLO shop\r\n$hidden", 'SSH' => "SSH-2.0-x\r\n$hidden",
		'RTSP' => "OPTIONS rtsp://shop/ RTSP/1.0\r\nCSeq: 1\r\n\r\n$hidden",
		'SIP' => "REGISTER sip:shop SIP/2.0\r\n\r\n$hidden", 'PostgreSQL' => "\0\0\0\x08\x04\xd2\x16\x2f$hidden",
		'Redis' => "*1\r\n\$4\r\nPING\r\n$hidden",
		'an answer for a request' => "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n$hidden",
		'a WebSocket frame' => "\x81\x85\0\0\0\0hello$hidden", 'DNS' => "\x00\x1d\x00\x00\x01\x00\x00\x01$hidden",
		'zeros' => "\0" x 1000 . $hidden, 'spaces' => ' ' x 1000 . $hidden, 'lines' => "\r\n" x 1000 . $hidden);

	# ---- content: the framing is good, the rest is the product's own affair, and the connection goes on ----

	my %escapes = ('%' => 200, '%%' => 200, '%4' => 200, '%zz' => 200, '%u0041' => 200, '%-1' => 200, '% 4' => 0,
		'%00' => 400, '%ff' => 400, '%C0%80' => 400, '%ED%A0%80' => 400,
		'%F4%90%80%80' => 400, "\xff" => 400, "\xc3" => 400, '%E2%82' => 400, '%0d%0a' => 200, '%0A%0D' => 200);
	$add->('escape', 'taken', $escapes{$_}, sprintf('an order that ends in %s', s/([^ -~])/sprintf '<%02x>', ord $1/ger) => "GET $path?order=$order-x$_&value=1 HTTP/1.1\r\n$host\r\n") for grep { $escapes{$_} } sort keys %escapes;
	$add->('path', 'taken', '404', map { ("the path $_->[0]" => "GET $_->[1]?order=$hidden_order&value=1 HTTP/1.1\r\n$host\r\n") }
		  [ 'with a slash more', "/$path" ], [ 'with a slash behind', "$path/" ], [ 'with a dot', "/.$path" ],
			[ 'with two dots', "/x/..$path" ], [ 'in capitals', uc $path ],
			[ 'with an encoded slash', $path =~ s{^/p/}{/p%2f}r ],
			[ 'with an encoded letter', $path =~ s{^/p/}{/%70/}r ],
		  [ 'with a parameter', "$path;x" ], [ 'with an encoded NUL', "$path%00" ], [ 'with a bad escape', "$path%" ],
			[ 'with an encoded question mark', "$path%3f" ], [ 'with a byte above ASCII', "$path\xe9" ],
			[ 'of a windows file', '/..\\..\\x' ], [ 'of nothing', '/' ], [ 'of slashes', '/////' ],
			[ 'of a file', '/../../../../etc/passwd' ]);

	# ---- what is not whole: the other side says nothing more, and the time runs out ----

	my $said = "$get$host";
	$add->('half', 'silent', '', 'nothing' => '', 'one byte' => 'G', 'a method' => 'GET ',
		'half a target' => "GET $path?order=$order", 'a request line' => $get,
		'a request line without its LF' => substr($get, 0, -1), 'a head without its end' => $said,
		'a head without its last byte' => "$said\r",
		'an empty line' => "\r\n", 'a body of which nothing comes' => "${post}Content-Length: 3\r\n\r\n",
		'a body of which a part comes' => "${post}Content-Length: " . ($length + 1) . "\r\n\r\n$hidden",
		'chunks of which nothing comes' => $chunked, 'a chunk of which a part comes' => "${chunked}ff\r\n$hidden",
		'chunks without an end' => "${chunked}$hex\r\n$hidden\r\n",
		'chunks without their last byte' => "${chunked}0\r\n\r",
		'a body of which nothing comes, with Expect' => "${post}Content-Length: 3\r\nExpect: 100-continue\r\n\r\n");
	return @all;
}

1;
