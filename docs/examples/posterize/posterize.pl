#!/usr/bin/perl
# A step in Perl: fewer shades of each colour. It needs nothing but Perl itself, not even a JSON module: Penstock writes
# requests without spaces between names, colons and values, and its own paths need no escapes.
use strict;
use warnings;

$| = 1;    # or an answer would wait in this process while Penstock waits for it

my $SCHEMA = '{"type":"object","description":"Fewer shades of each colour.","properties":'
  . '{"levels":{"type":"integer","minimum":2,"maximum":256,"default":4}},"additionalProperties":false}';

while ( my $line = <STDIN> ) {
    print $line =~ /"op":"describe"/ ? qq({"v":1,"step":"posterize","version":"1","params":$SCHEMA}) : answer($line);
    print "\n";
}

sub answer {
    my ($line) = @_;
    my ($inputs) = $line =~ /"in":\[([^\]]*)\]/;
    my ($folder) = $line =~ /"out":"([^"\\]+)"/;
    my ($levels) = $line =~ /"levels":(\d+)/;
    if ( $line !~ /"v":1\b/ || !$inputs || !$folder || !$levels ) {
        return refusal( 'bad_request', 'accepted is a request of version 1 with in, out and levels' );
    }
    my $number = 0;
    my @results;
    for my $from ( $inputs =~ /"([^"\\]+)"/g ) {
        my $to = "$folder/" . $number++;
        eval { posterize( $from, $to, $levels ) } or return refusal( 'internal', 'a file cannot be read or written' );
        push @results, qq("$to");
    }
    return '{"v":1,"ok":true,"out":[' . join( ',', @results ) . ']}';
}

sub refusal {
    my ( $code, $message ) = @_;
    print STDERR $@ if $@;
    return qq({"v":1,"ok":false,"error":{"code":"$code","message":"$message","retry":false}});
}

# A safetensors file is the length of its header in 8 bytes, the header, and the pixels.
sub posterize {
    my ( $from, $to, $levels ) = @_;
    open my $in, '<:raw', $from or die "$from: $!\n";
    my $file = do { local $/; <$in> };
    my $start  = 8 + unpack 'Q<', $file;
    my $pixels = substr $file, $start;
    my $shades = join '', map { sprintf '\\x%02x', int( int( $_ * $levels / 256 ) * 255 / ( $levels - 1 ) ) } 0 .. 255;
    eval "\$pixels =~ tr/\\x00-\\xff/$shades/; 1" or die $@;
    open my $out, '>:raw', $to or die "$to: $!\n";
    print {$out} substr( $file, 0, $start ), $pixels or die "$to: $!\n";
    return close $out;
}
